/** The CLI's own version, the package's (packages/skein/package.json). */
export const clientVersion = '0.1.0';
/** The newest Docker Engine API that the CLI speaks. */
export const clientApiVersion = '1.51';
