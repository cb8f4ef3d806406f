/** A cluster whose every node is restarted while all of them call each other: the short version of `npm run rolling-restart`. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const SCRIPT = join(import.meta.dirname, '../../scripts/rolling-restart.mjs');

interface Figures {
  readonly made: number;
  readonly ok: number;
}

it('a rolling restart under load loses no call and runs none twice', { timeout: 120_000 }, () => {
  const { stdout, stderr, status } = spawnSync(process.execPath, [SCRIPT, '--rounds', '2', '--json'], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: 110_000,
  });
  expect(stderr).toBe('');
  const figures = JSON.parse(stdout) as Figures;
  expect(figures).toMatchObject({
    restarts: 10,
    lost: 0,
    losses: [],
    executedTwice: 0,
    settledTwice: 0,
    okButNeverRan: 0,
  });
  expect(figures.made).toBeGreaterThan(1000);
  expect(figures.ok).toBe(figures.made);
  expect(status).toBe(0);
});
