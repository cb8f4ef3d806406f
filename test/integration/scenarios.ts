/** Everything that is shown on hosts of their own, for one driver and one kind of address. */
import { afterAll, afterEach, beforeAll, it } from 'vitest';
import { describeOnNetworks } from '../support/net-namespace.js';
import { IPV6_NEEDS, LAN_NEEDS, type Family } from './lan.js';
import { Notebook } from './seen.js';
import { COUNT, Site, type DriverName } from './site.js';

export type Scenario = (site: Site, seen: Notebook) => Promise<void>;

/** By title. */
export type Scenarios = Readonly<Record<string, Scenario>>;

/** One network for all of them, one after the other; each finds it whole. */
export function integration(driver: DriverName, family: Family, scenarios: Scenarios): void {
  const column = `${driver} IPv${family}`;
  const tests = (): void => {
    let site: Site | undefined;
    beforeAll(async () => {
      site = await Site.start(driver, family);
    });
    afterEach(async ({ task }) => {
      if (task.result?.state !== 'fail') return site?.restore();
      // Whatever is broken now, the next one finds everything as new.
      await site?.[Symbol.asyncDispose]();
      site = await Site.start(driver, family);
    });
    afterAll(async () => {
      await using ending = site;
      await ending?.close();
    });
    for (const [title, run] of Object.entries(scenarios)) {
      it(title, async (context) => {
        if (site === undefined) throw new Error('There is no network.');
        await run(site, new Notebook(context, column));
      });
    }
  };
  const title = `a master and ${COUNT} nodes on hosts of their own, ${column}`;
  describeOnNetworks(title, tests, family === 6 ? [...LAN_NEEDS, ...IPV6_NEEDS] : LAN_NEEDS);
}
