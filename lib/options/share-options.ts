/** Which calls of a module go to a node, among those that have it: said of a node by others, or by itself. */
import { Count, Optional } from './option-rules.js';

export class ShareOptions {
  /** Calls of a module go to nodes of the lowest number that can be reached. Default 0. (RFC 2782: priority) */
  @Optional()
  @Count(0, 65_535)
  priority?: number;

  /** Share of the calls of a module, among nodes of one priority; 0: hardly any. Default 1. (RFC 2782: weight) */
  @Optional()
  @Count(0, 65_535)
  weight?: number;
}
