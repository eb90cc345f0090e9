/** The `--format` flag of lists. */
export const formatFlag = `--format string  Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template`;
/** The `--format` flag of `inspect`. */
export const inspectFlag = `-f, --format string  Format output using a custom template: 'json' or a Go template`;
/** The `--filter` flag. */
export const filterFlag = '-f, --filter filter  Filter output based on conditions provided';
