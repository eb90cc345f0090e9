import { TemplateError } from './errors.ts';
import { allFunctions, type FunctionTable } from './functions.ts';
import { lineOf } from './lexer.ts';
import type { Call, Node, Operand, Pipeline, RangeNode } from './nodes.ts';
import { parseTemplate } from './parser.ts';
import { isList, isObject, isTrue, printValue, sortedKeys, type Value } from './value.ts';

/** How a template meets a field that is not there. */
export interface FieldPolicy {
  /** What Go's error says after `at <.Field>: `. */
  missing(field: string, of: Value): string;
}

/** Raw JSON with `missingkey=error`, as `docker inspect` falls back to. */
export const mapPolicy: FieldPolicy = {
  missing: (field) => `map has no entry for key ${JSON.stringify(field)}`,
};

/** A row or an object of a Go type with just these fields. */
export function structPolicy(goType: string): FieldPolicy {
  return { missing: (field) => `can't evaluate field ${field} in type ${goType}` };
}

/** How many steps nested `range` loops may take together: a template cannot hang the CLI. */
const maxSteps = 10_000_000;
/** Go's limit on the quoted part of the template in an error. */
const maxContext = 20;

/** A parsed template. */
export class Template {
  readonly #source: string;
  readonly #name: string;
  readonly #nodes: readonly Node[];
  readonly #functions: FunctionTable;

  /** @throws TemplateError if the text is no template. */
  constructor(source: string, functions: FunctionTable = allFunctions, name = '') {
    this.#source = source;
    this.#name = name;
    this.#functions = functions;
    this.#nodes = parseTemplate(source, new Set(Object.keys(functions)), name);
  }

  /** Runs the template on `data`. @throws TemplateError in Go's words. */
  run(data: Value, policy: FieldPolicy = mapPolicy): string {
    return new Evaluation(this.#source, this.#name, this.#functions, policy, data).run(this.#nodes);
  }
}

type Variable = { readonly name: string; value: Value };
type Jump = 'break' | 'continue' | undefined;

class Evaluation {
  readonly #source: string;
  readonly #name: string;
  readonly #functions: FunctionTable;
  readonly #policy: FieldPolicy;
  readonly #data: Value;
  #variables: Variable[];
  #out = '';
  #steps = 0;

  constructor(source: string, name: string, functions: FunctionTable, policy: FieldPolicy, data: Value) {
    this.#source = source;
    this.#name = name;
    this.#functions = functions;
    this.#policy = policy;
    this.#data = data;
    this.#variables = [{ name: '$', value: data }];
  }

  run(nodes: readonly Node[]): string {
    this.#list(nodes, this.#data);
    return this.#out;
  }

  #list(nodes: readonly Node[], dot: Value): Jump {
    for (const node of nodes) {
      const jump = this.#node(node, dot);
      if (jump) return jump;
    }
    return undefined;
  }

  #node(node: Node, dot: Value): Jump {
    if (++this.#steps > maxSteps) throw new TemplateError(`template: ${this.#name}: too many steps`, true);
    switch (node.kind) {
      case 'text':
        this.#out += node.text;
        return undefined;
      case 'print': {
        const value = this.#pipeline(node.pipeline, dot);
        if (node.pipeline.variables.length === 0) this.#out += printValue(value);
        return undefined;
      }
      case 'break':
      case 'continue':
        return node.kind;
      case 'range':
        this.#range(node, dot);
        return undefined;
      default: {
        const scope = this.#variables.length;
        const value = this.#pipeline(node.pipeline, dot);
        const inner = node.kind === 'with' ? value : dot;
        const jump = isTrue(value) ? this.#list(node.body, inner) : this.#list(node.otherwise, dot);
        this.#variables.length = scope;
        return jump;
      }
    }
  }

  #range(node: RangeNode, dot: Value): void {
    const scope = this.#variables.length;
    const value = this.#pipeline({ ...node.pipeline, variables: [] }, dot);
    const items = this.#items(node.pipeline, value);
    for (const [key, item] of items) {
      const names = node.pipeline.variables;
      const values = names.length === 2 ? [key, item] : [item];
      for (const [index, name] of names.entries()) {
        if (node.pipeline.declares) this.#variables.push({ name, value: values[index] });
        else this.#assign(name, values[index]);
      }
      const jump = this.#list(node.body, item);
      this.#variables.length = scope;
      if (jump === 'break') break;
    }
    if (items.length === 0) this.#list(node.otherwise, dot);
    this.#variables.length = scope;
  }

  #items(pipeline: Pipeline, value: Value): [Value, Value][] {
    if (value === undefined || value === null) return [];
    if (isList(value)) return value.map((item, index) => [index, item]);
    if (isObject(value)) return sortedKeys(value).map((key) => [key, value[key]]);
    if (typeof value === 'number') {
      if (value > maxSteps) throw this.#error(pipeline, `range over ${value} is too long`);
      return Array.from({ length: value }, (_none, index) => [index, index]);
    }
    throw this.#error(pipeline, `range can't iterate over ${printValue(value)}`);
  }

  #pipeline(pipeline: Pipeline, dot: Value): Value {
    let value: Value;
    for (const [index, call] of pipeline.calls.entries()) value = this.#call(call, dot, index > 0 ? [value] : []);
    for (const name of pipeline.variables) {
      if (pipeline.declares) this.#variables.push({ name, value });
      else this.#assign(name, value);
    }
    return value;
  }

  #assign(name: string, value: Value): void {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable) variable.value = value;
  }

  #call(call: Call, dot: Value, piped: readonly Value[]): Value {
    const [head, ...rest] = call.words;
    if (!head) return undefined;
    if (head.kind === 'function') return this.#function(head, call, rest, dot, piped);
    if (head.kind === 'nil') throw this.#error(head, 'nil is not a command');
    if (rest.length === 0 && piped.length === 0) return this.#operand(head, dot);
    const target = this.#operand(head, dot, true);
    if (typeof target !== 'function') {
      const what =
        head.kind === 'field' || head.kind === 'chain'
          ? `${head.path.at(-1)} has arguments but cannot be invoked as function`
          : `can't give argument to non-function ${head.text}`;
      throw this.#error(head, what);
    }
    return this.#invoke(head, call, target, [...rest.map((word) => this.#operand(word, dot)), ...piped]);
  }

  #function(
    head: Operand & { kind: 'function' },
    call: Call,
    rest: readonly Operand[],
    dot: Value,
    piped: readonly Value[],
  ): Value {
    const named = this.#functions[head.name];
    if (!named) throw this.#error(head, `${JSON.stringify(head.name)} is not a defined function`);
    if (head.name === 'and' || head.name === 'or') {
      let value: Value;
      for (const word of rest) {
        value = this.#operand(word, dot);
        if (isTrue(value) === (head.name === 'or')) return value;
      }
      return piped.length > 0 ? piped[0] : value;
    }
    const args = [...rest.map((word) => this.#operand(word, dot)), ...piped];
    const fixed = named.length;
    if (args.length < fixed) {
      throw this.#error(head, `wrong number of args for ${head.name}: want ${fixed} got ${args.length}`);
    }
    return this.#invoke(head, call, named, args);
  }

  #invoke(head: Operand, call: Call, target: (...args: Value[]) => Value, args: Value[]): Value {
    try {
      return target(...args);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw this.#error(
        { at: head.at, text: call.text },
        `error calling ${head.kind === 'function' ? head.name : head.text}: ${reason}`,
      );
    }
  }

  #operand(operand: Operand, dot: Value, asFunction = false): Value {
    switch (operand.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return null;
      case 'constant':
        return operand.value;
      case 'field':
        return this.#fields(operand, dot, operand.path, asFunction);
      case 'variable': {
        const variable = this.#variables.findLast((candidate) => candidate.name === operand.name);
        return this.#fields(operand, variable?.value, operand.path, asFunction);
      }
      case 'chain':
        return this.#fields(operand, this.#operand(operand.base, dot), operand.path, asFunction);
      case 'function':
        return this.#function(operand, { words: [operand], text: operand.text, at: operand.at }, [], dot, []);
      case 'pipeline': {
        const scope = this.#variables.length;
        const value = this.#pipeline(operand.pipeline, dot);
        this.#variables.length = scope;
        return value;
      }
    }
  }

  #fields(operand: Operand, start: Value, path: readonly string[], asFunction: boolean): Value {
    let value = start;
    for (const [index, name] of path.entries()) {
      value = this.#field(operand, value, name);
      const last = index === path.length - 1;
      if (typeof value === 'function' && !(last && asFunction))
        value = this.#invoke(operand, { words: [], text: operand.text, at: operand.at }, value, []);
    }
    return value;
  }

  /** A field by its name, else by its name in another case, since Go's types and the API's JSON differ there. */
  #field(operand: Operand, value: Value, name: string): Value {
    if (value === undefined || value === null)
      throw this.#error(operand, `nil data; no entry for key ${JSON.stringify(name)}`);
    if (!isObject(value)) throw this.#error(operand, `can't evaluate field ${name} in type interface {}`);
    if (Object.hasOwn(value, name)) return value[name];
    const key = Object.keys(value).find((candidate) => candidate.toLowerCase() === name.toLowerCase());
    if (key === undefined) throw this.#error(operand, this.#policy.missing(name, value));
    return value[key];
  }

  #error(where: { readonly at: number; readonly text: string }, what: string): TemplateError {
    const line = lineOf(this.#source, where.at);
    const lineStart = this.#source.lastIndexOf('\n', where.at - 1) + 1;
    const column = Buffer.byteLength(this.#source.slice(lineStart, where.at));
    const context = where.text.length > maxContext ? `${where.text.slice(0, maxContext)}...` : where.text;
    return new TemplateError(
      `template: ${this.#name}:${line}:${column}: executing ${JSON.stringify(this.#name)} at <${context}>: ${what}`,
      true,
    );
  }
}
