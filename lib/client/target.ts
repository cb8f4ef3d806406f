/** Who is called: a node, or whichever node will do. */
import type { FunctionName } from '../protocol/invocation.js';
import { isNodeName } from '../protocol/node-name.js';

/** A node, or a node and a key; the same key always takes the same lane. */
export interface NodeTarget {
  /** `name@host`; or `name` alone, for whichever node of that name. */
  readonly node: string;
  readonly key?: unknown;
}

/** Whichever node has the module, in the version if one is wanted; the same key always takes the same node, as long as it lives. */
export interface ModuleTarget {
  readonly module: string;
  /** Exactly, or a range: `^1.2.0`. Default: any; in a call of this module, the version that the call wants. */
  readonly version?: string | undefined;
  readonly key?: unknown;
}

export type Target = NodeTarget | ModuleTarget;

/** What the nodes have in common that a target stands for. */
export interface Choice {
  /** Of a module, or (`node`) of nodes by the part of their name before `@`. */
  readonly kind: 'module' | 'node';
  readonly name: string;
  /** `''`: any. */
  readonly version: string;
  readonly key: unknown;
}

const SHORT_NAME = /^[A-Za-z0-9_.-]{1,255}$/;

/** `undefined` for a target that is one node. What is neither is left to whoever dials it. */
export function choiceOf(target: Target): Choice | undefined {
  if ('module' in target)
    return { kind: 'module', name: target.module, version: target.version ?? '', key: target.key };
  if (isNodeName(target.node) || !SHORT_NAME.test(target.node)) return undefined;
  return { kind: 'node', name: target.node, version: '', key: target.key };
}

/** A call of the module itself goes where its version is. */
export function versioned(choice: Choice, { module, version }: FunctionName): Choice {
  const isAlike = choice.kind === 'module' && choice.version === '' && choice.name === module && version !== '';
  return isAlike ? { ...choice, version } : choice;
}
