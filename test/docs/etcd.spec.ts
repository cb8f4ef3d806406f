/** What docs/DISCOVERY.md says of the options of a source in etcd is held against the library. */
import { getMetadataStorage } from 'class-validator';
import { expect, it } from 'vitest';
import { DEFAULT_ETCD, EtcdOptions, EtcdTlsOptions } from '../../lib/discovery/etcd-options.js';
import { namesIn, Page, rowsOf } from './pages.js';

const rows = rowsOf((await Page.read('docs/DISCOVERY.md')).section('## etcd'));

function propertiesOf(type: new () => object): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}

it('docs/DISCOVERY.md has every option of a source in etcd', () => {
  const tls = propertiesOf(EtcdTlsOptions).map((name) => `tls.${name}`);
  const all = [...propertiesOf(EtcdOptions).filter((name) => name !== 'tls'), ...tls];
  expect(rows.flatMap(([names]) => namesIn(names)).toSorted()).toEqual(all.toSorted());
});

it('docs/DISCOVERY.md has the defaults of a source in etcd', () => {
  const defaults = rows.flatMap(([names, , , written]) => {
    const [value] = namesIn(written);
    return value === undefined ? [] : [[namesIn(names)[0], value.replaceAll("'", '')]];
  });
  const real = Object.entries(DEFAULT_ETCD).map(([name, value]) => [name, String(value)]);
  expect(Object.fromEntries(defaults)).toEqual(Object.fromEntries(real));
});
