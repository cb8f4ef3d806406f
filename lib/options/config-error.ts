/** Options that no node can start with: what was wrong with each, what was expected. */
import { inspect } from 'node:util';

export interface Problem {
  /** Where: `nodes["b@10.0.0.2"].port`. */
  readonly path: string;
  /** What is allowed there. */
  readonly expected: string;
  /** What was given; left out where it is a secret. */
  readonly got?: unknown;
}

export class GenRpcConfigError extends Error {
  override readonly name = 'GenRpcConfigError';

  constructor(
    /** The call that got the options: `GenRpcModule.forRoot()`. */
    where: string,
    readonly problems: readonly Problem[],
  ) {
    super(
      `${problems.length} problem${problems.length === 1 ? '' : 's'} in ${where}\n${problems.map(lineOf).join('\n')}`,
    );
  }
}

function lineOf(problem: Problem): string {
  const got =
    'got' in problem ? `, got ${inspect(problem.got, { depth: 0, maxStringLength: 60, breakLength: Infinity })}` : '';
  return `  - ${problem.path}: expected ${problem.expected}${got}`;
}
