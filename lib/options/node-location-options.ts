/** What a user writes of one other node, in the option `nodes` or in a file. */
import { Host, isText, Matches, Optional, Port } from './option-rules.js';
import { ShareOptions } from './share-options.js';

/** A module; or one version of it. */
export type WrittenModule = string | { readonly module: string; readonly version: string };

/** Where one other node is, as far as that is not told by its name. (gen_rpc: `client_config_per_node`) */
export class NodeLocationOptions extends ShareOptions {
  /** Default: the host in its name. */
  @Optional()
  @Host()
  host?: string;

  /** Default: `clientPort`; without one, the port of the driver. */
  @Optional()
  @Port(1)
  port?: number;

  /** A driver's name. Default: `driver` of the node that dials. */
  @Optional()
  @Matches(isText, 'the name of a driver')
  driver?: string;

  /** What can be called there, for calls of a module: `'math'`, or `{ module: 'math', version: '1.2.0' }`. Default: not known, it may be anything. */
  @Optional()
  @WrittenModules()
  modules?: readonly WrittenModule[];
}

export function WrittenModules(): PropertyDecorator {
  return Matches(areModules, "a list of 'module' or { module, version }");
}

function areModules(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => isText(one) || (isText(one?.module) && isText(one?.version)));
}
