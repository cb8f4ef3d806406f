import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.spec.ts'],
    // test/integration: `npm run test:integration`.
    exclude: ['test/compat/**', 'test/integration/**'],
    globalSetup: ['test/support/tls-setup.ts'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: ['default', './scripts/vitest-count-reporter.mjs'],
  },
});
