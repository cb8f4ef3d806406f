/** Which strategies an application has connected, whoever connected them. */
import type { ModulesContainer } from '@nestjs/core';

/** What Nest goes by when it says which handlers a strategy gets; Nest does not say what else a strategy is. */
export interface Strategy {
  readonly transportId?: unknown;
}

/** Those so far. */
export function strategiesOf(modules: ModulesContainer): Strategy[] {
  const strategies: Strategy[] = [];
  const subscription = modules.getRpcTargetRegistry<Strategy>().subscribe((strategy) => strategies.push(strategy));
  subscription.unsubscribe();
  return strategies;
}
