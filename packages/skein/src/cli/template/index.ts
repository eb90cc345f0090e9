/**
 * template: Go's text/template as docker's `--format` uses it: parsed and evaluated on JSON, with Go's printing of
 * values and Go's words for errors. Knows nothing of commands or of the engine.
 */
export { TemplateError } from './errors.ts';
export { type FieldPolicy, mapPolicy, structPolicy, Template } from './evaluator.ts';
export { allFunctions, type FunctionTable, headerFunctions } from './functions.ts';
export { goTime } from './time.ts';
export { formatValue, GoTime, type Value, type ValueObject } from './value.ts';
