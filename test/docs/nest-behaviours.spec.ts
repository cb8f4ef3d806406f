/** docs/nest-behaviours.md is what the titles of the tests say, and leaves no behaviour out. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { BEHAVIOURS, pageOf, shownBehaviours } from './nest-behaviours.js';
import { ROOT } from './pages.js';

const shown = await shownBehaviours();

/** The page says so. */
const NOT_SHOWN: readonly number[] = [];

it('every behaviour is shown by a test, but for those that are known not to be', () => {
  const numbers = BEHAVIOURS.map((_, index) => index + 1);
  const ids = new Set(shown.map(({ behaviour }) => behaviour));
  expect(numbers.filter((number) => !ids.has(number))).toEqual(NOT_SHOWN);
  expect([...ids].filter((id) => !numbers.includes(id))).toEqual([]);
});

it('the page says what there is', async () => {
  await expect(pageOf(shown)).toMatchFileSnapshot(join(ROOT, 'docs/nest-behaviours.md'));
});
