/** Where a node listens: from nothing, one place or several that a user wrote, to all that is to be known of each. */
import { check, driverProblems, isRecord, withDefaults } from '../options/check-options.js';
import type { Problem } from '../options/config-error.js';
import { DEFAULT_LISTEN, ListenOptions } from './option-groups.js';

export type ResolvedListen = Required<ListenOptions>;

/** Where nodes are, by driver, unless they are told otherwise. (gen_rpc: `tcp_…_port`, `ssl_…_port`) */
export const DEFAULT_PORTS: ReadonlyMap<string, number> = new Map([
  ['tcp', 5369],
  ['tls', 5370],
]);

export function defaultPort(driver: string): number {
  return DEFAULT_PORTS.get(driver) ?? 5369;
}

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/i;

type Given = ListenOptions | readonly ListenOptions[] | false | undefined;

export function resolveListen(given: Given, driver: string): readonly ResolvedListen[] {
  if (given === false) return [];
  return placesOf(given ?? {}).map((place) => {
    const driverHere = place.driver ?? driver;
    return withDefaults<ListenOptions>({ ...DEFAULT_LISTEN, driver: driverHere, port: defaultPort(driverHere) }, place);
  });
}

/** @param driver the one of places that name none */
export function listenProblems(given: unknown, driver: unknown, drivers: readonly string[]): Problem[] {
  if (given === undefined || given === false) return [];
  if (isRecord(given)) return placeProblems(given, 'listen', driver, drivers);
  if (!Array.isArray(given)) return [{ path: 'listen', expected: 'an object, a list of them, or false', got: given }];
  if (given.length === 0) return [{ path: 'listen', expected: 'at least one place, or false', got: given }];
  return given.flatMap((place, at) => placeProblems(place, `listen[${at}]`, driver, drivers));
}

function placeProblems(place: unknown, path: string, driver: unknown, drivers: readonly string[]): Problem[] {
  const problems = check(ListenOptions, place, path);
  if (!isRecord(place)) return problems;
  const exposed = (place['driver'] ?? driver) === 'tls' ? [] : exposure(place, path);
  return [...problems, ...driverProblems(place['driver'], drivers, `${path}.driver`), ...exposed];
}

/** Plain TCP beyond this machine is a decision, not a default. */
function exposure({ host, allowPlaintext }: Record<string, unknown>, path: string): Problem[] {
  if (typeof host !== 'string' || LOOPBACK.test(host) || allowPlaintext === true) return [];
  const expected = `a loopback address, driver tls, or ${path}.allowPlaintext: true (without TLS, others can read and change what is sent)`;
  return [{ path: `${path}.host`, expected, got: host }];
}

function placesOf(given: ListenOptions | readonly ListenOptions[]): readonly ListenOptions[] {
  return Array.isArray(given) ? (given as readonly ListenOptions[]) : [given as ListenOptions];
}
