/** What the stages take, on films of the packages and on many drawn ones. */
export async function run(): Promise<boolean> {
  return await Promise.resolve(true);
}
