/** Figures as messages and tables write them. */

/** Bytes in MB or, from a thousand of those on, in GB with one digit more. */
export const bytesText = (bytes: number, digits = 0): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(digits + 1)} GB` : `${(bytes / 1e6).toFixed(digits)} MB`;
