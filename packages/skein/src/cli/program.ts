/** The name that help and errors call the program by. */
export const program = 'skein';
