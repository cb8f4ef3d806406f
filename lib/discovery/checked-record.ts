/** What a source says, looked at before it is used: anybody may have written it. */
import { isNodeName, NODE_NAME_RULE, printable } from '../protocol/node-name.js';
import { placeProblem } from './address.js';
import type { ModuleRecord, NodeRecord, Place } from './discovery.js';

/** Of one node. */
export const MOST_LOCATIONS = 16;

/** Most places of one node, most modules of one node, most versions of one module. */
const MOST = { locations: MOST_LOCATIONS, modules: 1000, versions: 100 } as const;
const LONGEST = { module: 255, version: 64, driver: 64, incarnation: 255 } as const;
/** RFC 2782. */
const MAX_SHARE = 65_535;

/** A record of which every part is what it should be; what else it holds is left out. @throws Error saying what is wrong. */
export function checkedRecord(value: unknown): NodeRecord {
  const { name, locations, modules, priority, weight, incarnation } = asRecord(value, 'a record');
  if (!isNodeName(name)) throw new Error(`its name must be ${NODE_NAME_RULE}; got ${printable(name)}`);
  return {
    name,
    locations: checkedList(locations, 'locations', MOST.locations, 1).map(checkedLocation),
    modules: modules === undefined ? undefined : checkedList(modules, 'modules', MOST.modules).map(checkedModule),
    priority: checkedShare(priority, 'priority'),
    weight: checkedShare(weight, 'weight'),
    incarnation: incarnation === undefined ? undefined : checkedText(incarnation, 'incarnation'),
  };
}

/** @throws Error saying what is wrong. */
export function checkedLocation(value: unknown): Place {
  const { driver, host, port } = asRecord(value, 'an object { host, port, driver }');
  const problem = placeProblem(host, port);
  if (problem !== undefined) throw new Error(problem);
  return {
    driver: driver === undefined ? undefined : checkedText(driver, 'driver'),
    host: host as string | undefined,
    port: port as number | undefined,
  };
}

function checkedModule(value: unknown): ModuleRecord {
  const { name, versions } = asRecord(value, 'a module { name, versions }');
  return {
    name: checkedText(name, 'module'),
    versions: checkedList(versions, 'versions', MOST.versions).map((version) => checkedText(version, 'version')),
  };
}

function asRecord(value: unknown, expected: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${expected} was expected, got ${printable(value)}`);
}

function checkedList(value: unknown, what: string, most: number, least = 0): unknown[] {
  if (Array.isArray(value) && value.length >= least && value.length <= most) return value;
  const got = Array.isArray(value) ? `${value.length} of them` : printable(value);
  throw new Error(`its ${what} must be a list of ${least} to ${most}, got ${got}`);
}

function checkedText(value: unknown, what: keyof typeof LONGEST): string {
  if (typeof value === 'string' && Buffer.byteLength(value) <= LONGEST[what] && value.isWellFormed()) return value;
  throw new Error(`its ${what} must be text of at most ${LONGEST[what]} bytes, got ${printable(value)}`);
}

function checkedShare(value: unknown, what: string): number | undefined {
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_SHARE) return Number(value);
  throw new Error(`its ${what} must be a whole number from 0 to ${MAX_SHARE}, got ${printable(value)}`);
}
