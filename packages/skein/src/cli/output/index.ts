/** output: how the CLI prints: tables, lists by template, inspected objects, sizes and times. */

export { goTime } from '../template/index.ts';
export { applyTemplate, inspectAll } from './inspect.ts';
export { type Column, type Listing, printList, readTemplate, renderList } from './listing.ts';
export { alignTabs } from './tab-writer.ts';
export * from './units.ts';
