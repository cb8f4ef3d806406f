/** A cluster that finds itself through etcd while nodes and etcd die: the short version of `npm run discovery`. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeWithEtcd } from '../support/etcd.js';

const SCRIPT = join(import.meta.dirname, '../../scripts/discovery.mjs');

interface Figures {
  readonly calls: number;
  readonly toTheDead: number;
  readonly moduleCalls: number;
}

describeWithEtcd('a cluster that finds itself through etcd', () => {
  it(
    'D-02 calls nodes that live without a failure, while some die, etcd dies, and others come',
    { timeout: 180_000 },
    () => {
      const args = ['--nodes', '6', '--die', '2', '--join', '2', '--down', '6', '--ttl', '4000', '--json'];
      const { stdout, stderr, status } = spawnSync(process.execPath, [SCRIPT, ...args], {
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '' },
        timeout: 170_000,
      });
      expect(stderr).toBe('');
      const figures = JSON.parse(stdout) as Figures;
      expect(figures).toMatchObject({ failed: 0, moduleCallsFailed: 0, failures: [] });
      expect(figures.calls - figures.toTheDead).toBeGreaterThan(300);
      expect(figures.moduleCalls).toBeGreaterThan(100);
      expect(status).toBe(0);
    },
  );
});
