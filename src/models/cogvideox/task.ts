/**
 * What a generation begins with besides noise. `text`: nothing else. `image`: the first frame. `video`: another video, noised.
 * `control`: a video that is followed. `inpaint`: a video with parts made anew.
 */
export type Task = "text" | "image" | "video" | "control" | "inpaint";

export const TASKS: readonly Task[] = ["text", "image", "video", "control", "inpaint"];
