const { SourceTextModule } = require('node:vm');

// Jest gives CommonJS tests a require() for ES modules, of which Nest 12 is made, only on Node 24.9 and later.
const requiresEsm = typeof SourceTextModule?.prototype.hasAsyncGraph === 'function';

module.exports = {
  roots: ['<rootDir>/dist'],
  transform: requiresEsm ? {} : { '/node_modules/.+\\.js$': '<rootDir>/esm-to-cjs.cjs' },
  transformIgnorePatterns: [],
};
