/** Which of the registered modules remote nodes may call (gen_rpc: `rpc_module_control`, `rpc_module_list`). */
import { GenRpcError } from '../protocol/errors.js';

export type ModuleControl = 'disabled' | 'whitelist' | 'blacklist';

const CONTROLS: ReadonlySet<unknown> = new Set<ModuleControl>(['disabled', 'whitelist', 'blacklist']);

export class ModulePolicy {
  private control: ModuleControl = 'disabled';
  private names = new Set<string>();
  private prefixes: string[] = [];

  constructor(control: ModuleControl, modules: readonly string[]) {
    this.change(control, modules);
  }

  /**
   * From the next call on; those that run are let be. `disabled`: every registered module. Names are compared byte by
   * byte; one that ends in `*` stands for all that begin like it; `''` names functions without a module.
   */
  change(control: ModuleControl, modules: readonly string[]): void {
    if (!CONTROLS.has(control)) {
      throw new GenRpcError(
        'invalid_argument',
        `Module control is ${[...CONTROLS].join(', ')}; got ${String(control)}.`,
      );
    }
    const wild = modules.filter((module) => module.endsWith('*'));
    this.control = control;
    this.names = new Set(modules);
    this.prefixes = wild.map((module) => module.slice(0, -1));
  }

  allows(module: string): boolean {
    if (this.control === 'disabled') return true;
    return this.lists(module) === (this.control === 'whitelist');
  }

  private lists(module: string): boolean {
    return this.names.has(module) || this.prefixes.some((prefix) => module.startsWith(prefix));
  }
}
