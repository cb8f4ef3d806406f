/** What the command line knows, and what its exit codes mean: 0 done, 1 failed, 2 not understood. */
import { Command, CommanderError } from 'commander';
import { addCerts } from './certs.js';

const DONE = 0;
const FAILED = 1;
const NOT_UNDERSTOOD = 2;

/** Resolves with the exit code. Results go to stdout, everything else to stderr. Never rejects. */
export async function run(args: readonly string[]): Promise<number> {
  const program = new Command('nestjs-gen-rpc')
    .description('Looks after nodes of nestjs-gen-rpc.')
    .exitOverride()
    .showHelpAfterError('Run it with --help to see what it knows.');
  addCerts(program);
  try {
    await program.parseAsync(args, { from: 'user' });
    return DONE;
  } catch (error) {
    // Commander has said already what it did not understand; asking for help is no error.
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : NOT_UNDERSTOOD;
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    return FAILED;
  }
}
