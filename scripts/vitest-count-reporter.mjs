// Ends a test run with one plain line for whoever reads the log by machine: `12 passed, 0 failed, 1 skipped`.
export default class CountReporter {
  /** A file that cannot be loaded, a hook that fails and an error outside of every test count as one failure each. */
  onTestRunEnd(modules, unhandledErrors) {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      count.failed += module.errors().length;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
      for (const test of module.children.allTests()) count[test.result().state] += 1;
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
    console.log(`${count.passed} passed, ${count.failed + count.pending} failed${skipped}`);
  }
}
