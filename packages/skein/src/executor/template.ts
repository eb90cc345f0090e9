import type { Task } from '../swarm/gen/objects_pb.js';
import type { NodeDescription } from '../swarm/gen/types_pb.js';
import { taskNameOf } from './names.ts';

/** Facts that a template in a service's env, hostname or mounts may name (swarmkit template/context.go). */
export interface TemplateContext {
  readonly task: Task;
  readonly node: { readonly id: string; readonly description: NodeDescription | undefined };
}

const action = /\{\{\s*(\.[A-Za-z.]+|index\s+\.Service\.Labels\s+"[^"]*")\s*\}\}/g;
const labelIndex = /^index\s+\.Service\.Labels\s+"([^"]*)"$/;

function field(name: string, { task, node }: TemplateContext): string | undefined {
  const label = labelIndex.exec(name);
  if (label) return task.serviceAnnotations?.labels[label[1] ?? ''] ?? '';
  const labels = '.Service.Labels.';
  if (name.startsWith(labels)) return task.serviceAnnotations?.labels[name.slice(labels.length)] ?? '';
  switch (name) {
    case '.Service.ID':
      return task.serviceId;
    case '.Service.Name':
      return task.serviceAnnotations?.name ?? '';
    case '.Node.ID':
      return node.id;
    case '.Node.Hostname':
      return node.description?.hostname ?? '';
    case '.Node.Platform.OS':
      return node.description?.platform?.os ?? '';
    case '.Node.Platform.Architecture':
      return node.description?.platform?.architecture ?? '';
    case '.Task.ID':
      return task.id;
    case '.Task.Name':
      return taskNameOf(task);
    case '.Task.Slot':
      return task.slot > 0n ? String(task.slot) : node.id;
    default:
      return undefined;
  }
}

/**
 * Expands the fields in `text` (`{{.Service.Name}}`, `{{.Task.Slot}}`, …).
 * @throws Error when it holds an action that is not one of those fields.
 */
export function expandTemplate(text: string, context: TemplateContext): string {
  const expanded = text.replace(action, (whole, name: string) => {
    const value = field(name, context);
    if (value === undefined) throw new Error(`expanding template "${text}" failed: unknown field ${name} in ${whole}`);
    return value;
  });
  if (!text.includes('{{')) return expanded;
  const rest = text.replace(action, '');
  if (rest.includes('{{'))
    throw new Error(`expanding template "${text}" failed: only fields such as {{.Task.Slot}} are supported`);
  return expanded;
}

/** What a templated secret or config may ask for besides the fields; undefined where the task does not have it. */
export interface PayloadGetters {
  readonly secret: (target: string) => string | undefined;
  readonly config: (target: string) => string | undefined;
  readonly env: (name: string) => string | undefined;
}

const call = /\{\{-?\s*(secret|config|env)\s+"([^"]*)"\s*-?\}\}/g;

/**
 * Expands a secret or config of template driver `golang`: the fields, and `{{secret "target"}}`, `{{config "target"}}`,
 * `{{env "NAME"}}` (swarmkit template/context.go: PayloadContext). What was inserted is not expanded again.
 * @throws Error for a target that the task does not have.
 */
export function expandPayload(text: string, context: TemplateContext, getters: PayloadGetters): string {
  const parts: string[] = [];
  let end = 0;
  for (const match of text.matchAll(call)) {
    const [whole, kind = '', name = ''] = match;
    const value = getters[kind as keyof PayloadGetters](name);
    if (value === undefined && kind !== 'env') throw new Error(`${kind} target ${name} not found`);
    parts.push(expandTemplate(text.slice(end, match.index), context), value ?? '');
    end = match.index + whole.length;
  }
  parts.push(expandTemplate(text.slice(end), context));
  return parts.join('');
}
