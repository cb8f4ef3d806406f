#!/usr/bin/env node
/** The command `nestjs-gen-rpc`, as the system starts it. */
import { run } from './program.js';

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
