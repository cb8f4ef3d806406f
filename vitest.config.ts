import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.js';

export default defineConfig({
  test: {
    include: ['test/**/*.spec.ts'],
    // test/integration: `npm run test:integration`.
    exclude: ['test/compat/**', 'test/integration/**'],
    globalSetup: ['test/support/tls-setup.ts'],
    pool: 'forks',
    // Many files mostly wait. Left to itself, vitest runs one file fewer at once than there are cores: of two, on one.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: ['default', './scripts/vitest-count-reporter.mjs'],
  },
});
