/** Every option that there is, as the library itself knows them: names, defaults, and what it says to a value. */
import { getMetadataStorage } from 'class-validator';
import { GenRpcConfigError, type Problem } from '../../lib/options/config-error.js';
import * as optionGroups from '../../lib/node/option-groups.js';
import { GenRpcOptions } from '../../lib/node/options.js';
import { resolveOptions } from '../../lib/node/resolve-options.js';
import { NodeLocationOptions } from '../../lib/options/node-location-options.js';
import * as tlsOptions from '../../lib/node/tls-options.js';
import { SECRET } from '../support/cluster.js';

const NODE = 'b@127.0.0.1';
const GOOD = { name: 'a@127.0.0.1', secret: SECRET };
const LOCATION = 'nodes[name]';

/** Groups of options, by where they stand. */
const GROUPS: Readonly<Record<string, new () => object>> = {
  listen: optionGroups.ListenOptions,
  tls: tlsOptions.TlsOptions,
  [LOCATION]: NodeLocationOptions,
  reconnect: optionGroups.ReconnectOptions,
  retry: optionGroups.RetryOptions,
  keepalive: optionGroups.KeepaliveOptions,
  batching: optionGroups.BatchingOptions,
  compression: optionGroups.CompressionOptions,
  admission: optionGroups.AdmissionOptions,
  concurrency: optionGroups.ConcurrencyOptions,
  membership: optionGroups.MembershipOptions,
  advertise: optionGroups.AdvertiseOptions,
  ejection: optionGroups.EjectionOptions,
};

/** Groups without a word of their own: they cannot be switched off. */
const ONLY_GROUPS = ['reconnect', 'batching', 'admission', 'concurrency', 'membership'];

/** Classes of options that stand nowhere in `GROUPS`. */
export function strayGroups(): string[] {
  // Those of one role are among those of both.
  const known = [...Object.values(GROUPS), tlsOptions.TlsCredentialOptions];
  return Object.entries({ ...optionGroups, ...tlsOptions }).flatMap(([name, one]) => {
    return typeof one === 'function' && !known.includes(one) ? [name] : [];
  });
}

function propertiesOf(type: new () => object): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}

/** Every option, as a path. */
export function allOptions(): string[] {
  const flat = propertiesOf(GenRpcOptions).filter((name) => !ONLY_GROUPS.includes(name));
  const grouped = Object.entries(GROUPS).flatMap(([name, type]) => propertiesOf(type).map((one) => `${name}.${one}`));
  return [...flat, ...grouped];
}

function partsOf(path: string): [group: string, name: string | undefined] {
  const [group = '', name] = path.split('.');
  return [group, name];
}

/** What is wrong with one option of this value. */
export function problemsOf(path: string, value: unknown): readonly Problem[] {
  const [group, name] = partsOf(path);
  // The longest wait must not be below the shortest.
  const bounded = group === 'reconnect' || group === 'ejection';
  const beside = bounded && name === 'max' ? { min: 1 } : bounded && name === 'min' ? { max: 2 ** 31 - 1 } : {};
  const within = name === undefined ? value : { ...beside, [name]: value };
  const given = group === LOCATION ? { nodes: { [NODE]: within } } : { [group]: within };
  try {
    resolveOptions({ ...GOOD, ...given } as GenRpcOptions, 'a test');
    return [];
  } catch (error) {
    if (error instanceof GenRpcConfigError) return error.problems;
    throw error;
  }
}

/** What a node runs on that was told nothing but this; a group that is off is `false`. */
export function defaultOf(path: string, told: Partial<GenRpcOptions> = {}): unknown {
  const [group, name] = partsOf(path);
  if (group === LOCATION) return undefined;
  const given = name === undefined ? {} : { [group]: {} };
  const resolved = resolveOptions({ ...GOOD, ...told, ...given }, 'a test');
  const all: Record<string, unknown> = { ...resolved, listen: resolved.listen[0] };
  if (name === undefined) return group in GROUPS && group !== 'tls' ? (all[group] ?? false) : all[group];
  return (all[group] as Record<string, unknown>)[name];
}
