/** Which of the registered modules remote nodes may call (gen_rpc: `rpc_module_control`, `rpc_module_list`). */

export type ModuleControl = 'disabled' | 'whitelist' | 'blacklist';

export class ModulePolicy {
  private readonly modules: ReadonlySet<string>;

  /** `disabled`: every registered module. Names are compared byte by byte; `''` names functions without a module. */
  constructor(
    private readonly control: ModuleControl = 'disabled',
    modules: readonly string[] = [],
  ) {
    this.modules = new Set(modules);
  }

  allows(module: string): boolean {
    if (this.control === 'disabled') return true;
    return this.modules.has(module) === (this.control === 'whitelist');
  }
}
