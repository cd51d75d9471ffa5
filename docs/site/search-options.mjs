/** How the index is made, and how the page asks it. */
export const SEARCH_FIELDS = ["title", "page", "text"];
export const SEARCH_OPTIONS = {
  storeFields: ["title", "page", "text"],
  searchOptions: { prefix: true, fuzzy: 0.15, boost: { title: 4, page: 2 }, combineWith: "AND" },
};
