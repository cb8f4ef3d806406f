/** Which Nest tests run with: 12, unless `npm run compat` has them run with 11. */
import { createRequire } from 'node:module';

const { version } = createRequire(import.meta.url)('@nestjs/core/package.json') as { readonly version: string };

/** For `it.runIf(NEST >= 12)`: docs/nest-behaviours.md names the version where a title is that of such a test. */
export const NEST = Number.parseInt(version);
