/** A small call of a handler with a guard, a pipe and an interceptor: made once, or anew for each message. */
import type { Workload } from '../workload.js';
import { add } from './add.js';

function through(operation: 'addEnhanced' | 'addScoped'): Workload<typeof operation, { callers: number }> {
  return {
    ...add,
    systems: ['gen-rpc', 'nest-tcp'],
    baselines: ['nest-tcp'],
    needs: [operation],
    run: (client, load, its) => add.run({ add: (a, b) => client[operation](a, b) }, load, its),
  };
}

export const enhanced = through('addEnhanced');
export const requestScoped = through('addScoped');
