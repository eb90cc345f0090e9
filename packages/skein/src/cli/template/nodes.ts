/** An operand or a function call's word. `at` is where Go's errors point. */
export type Operand = { readonly at: number; readonly text: string } & (
  | { readonly kind: 'dot' }
  | { readonly kind: 'nil' }
  | { readonly kind: 'constant'; readonly value: string | number | bigint | boolean }
  | { readonly kind: 'field'; readonly path: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly path: readonly string[] }
  | { readonly kind: 'chain'; readonly base: Operand; readonly path: readonly string[] }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'pipeline'; readonly pipeline: Pipeline }
);

/** `word argument…`: a function or a field with its arguments, or a single operand. */
export interface Call {
  readonly words: readonly Operand[];
  readonly text: string;
  readonly at: number;
}

/** `$a, $b := call | call`. */
export interface Pipeline {
  readonly variables: readonly string[];
  readonly declares: boolean;
  readonly calls: readonly Call[];
  readonly text: string;
  readonly at: number;
}

/** A template's parts, in the order they print. */
export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly pipeline: Pipeline }
  | { readonly kind: 'break' }
  | { readonly kind: 'continue' }
  | {
      readonly kind: 'if' | 'with';
      readonly pipeline: Pipeline;
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    }
  | RangeNode;

/** `{{range}}`. */
export interface RangeNode {
  readonly kind: 'range';
  readonly pipeline: Pipeline;
  readonly body: readonly Node[];
  readonly otherwise: readonly Node[];
}
