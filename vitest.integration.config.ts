import { defineConfig } from 'vitest/config';

/** `npm run test:integration`: several hosts of their own, each a network namespace. They mostly wait: all of them do so at once. */
export default defineConfig({
  test: {
    include: ['test/integration/**/*.spec.ts'],
    pool: 'forks',
    maxWorkers: 4,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: './test/integration/sweep.ts',
    reporters: ['default', './scripts/vitest-table-reporter.mjs', './scripts/vitest-count-reporter.mjs'],
  },
});
