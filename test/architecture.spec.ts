/** Holds the layout of docs/ARCHITECTURE.md: which room may know which. Every rule also proves that it can fail. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** Rooms of one floor do not know each other. Files directly in lib/ are the doors, each a room of its own. */
const FLOORS: readonly (readonly string[])[] = [
  ['protocol', 'ports'],
  ['system', 'options', 'certificates'],
  ['driver', 'discovery', 'authority'],
  ['connection'],
  ['client', 'server'],
  ['node'],
  ['nest', 'cli', 'opentelemetry'],
  ['testing'],
];
const DOORS = FLOORS.length;

/** What a process has only once, and a test cannot own: handed in through ports, implemented where time is owned. */
const AMBIENT = new Set([
  ...['setTimeout', 'setInterval', 'setImmediate', 'randomBytes', 'randomUUID', 'getRandomValues'],
  ...['Date.now', 'performance.now', 'process.hrtime', 'Math.random'],
]);

/** The real clock and randomness, sockets, and the virtual clock, which lets the real loop turn between its steps. */
const ownsTime = (path: string): boolean =>
  ['system', 'driver'].includes(roomOf(path)) || path === 'testing/virtual-clock.ts';

interface Import {
  readonly line: number;
  readonly specifier: string;
  /** The file of ours behind the specifier, or `undefined` for a package. */
  readonly target: string | undefined;
}

interface Source {
  /** Relative to lib/. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

interface Rule {
  readonly title: string;
  /** One line for each offence. */
  readonly check: (sources: readonly Source[]) => string[];
  /** A lib/ that offends, path → text, and what the rule has to say about it. */
  readonly offender: Readonly<Record<string, string>>;
  readonly verdict: readonly string[];
}

function sourceOf(path: string, text: string): Source {
  const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName, pos }) => {
    const target = fileName.startsWith('.')
      ? posix.join(posix.dirname(path), fileName.replace(/\.js$/, '.ts'))
      : undefined;
    return { line: text.slice(0, pos).split('\n').length, specifier: fileName, target };
  });
  return { path, text, imports };
}

function read(folder: 'lib' | 'bench'): Source[] {
  const root = join(dirname(import.meta.dirname), folder);
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => sourceOf(path, readFileSync(join(root, path), 'utf8')));
}

const roomOf = (path: string): string => path.split('/')[0] ?? path;

/** `undefined`: no room of the house. */
function floorOf(path: string): number | undefined {
  if (!path.includes('/')) return DOORS;
  const floor = FLOORS.findIndex((rooms) => rooms.includes(roomOf(path)));
  return floor === -1 ? undefined : floor;
}

/** A rule about one import at a time. */
function eachImport(isWrong: (from: Source, to: Import) => boolean) {
  return (sources: readonly Source[]): string[] =>
    sources.flatMap((from) =>
      from.imports.filter((to) => isWrong(from, to)).map((to) => `${from.path}:${to.line} imports ${to.specifier}`),
    );
}

/** A rule about one syntax node at a time. */
function eachNode(offence: (node: ts.Node) => string | undefined, isExempt: (path: string) => boolean = () => false) {
  return (sources: readonly Source[]): string[] =>
    sources.flatMap(({ path, text }) => {
      if (isExempt(path)) return [];
      const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
      const found: string[] = [];
      const visit = (node: ts.Node): void => {
        const said = offence(node);
        const line = file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;
        if (said !== undefined) found.push(`${path}:${line} ${said}`);
        ts.forEachChild(node, visit);
      };
      visit(file);
      return found;
    });
}

function ambientUse(node: ts.Node): string | undefined {
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length) {
    return 'uses new Date()';
  }
  if (!ts.isIdentifier(node) && !ts.isPropertyAccessExpression(node)) return undefined;
  const text = node.getText().replace(/^(globalThis|crypto)\./, '');
  // A name that is only declared, or asked of an object of ours (`clock.setTimeout`), is not the global.
  const isOwnName =
    'name' in node.parent && node.parent.name === node && !ts.isShorthandPropertyAssignment(node.parent);
  return AMBIENT.has(text) && !isOwnName ? `uses ${text}` : undefined;
}

/** The files of every import cycle, once each, beginning with the file that sorts first. */
function cyclesOf(sources: readonly Source[]): string[] {
  const targets = new Map(sources.map(({ path, imports }) => [path, imports.flatMap((to) => to.target ?? [])]));
  const cycles = new Set<string>();
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      const cycle = trail.slice(start);
      const first = cycle.indexOf([...cycle].sort()[0] ?? path);
      const turned = [...cycle.slice(first), ...cycle.slice(0, first)];
      cycles.add([...turned, turned[0]].join(' → '));
    } else if (!done.has(path)) {
      for (const target of targets.get(path) ?? []) visit(target, [...trail, path]);
      done.add(path);
    }
  };
  for (const { path } of sources) visit(path, []);
  return [...cycles];
}

/** What a file imports when it is loaded: not what it needs for types, nor what it imports later. */
function loadedBy(text: string): string[] {
  const { statements } = ts.createSourceFile('', text, ts.ScriptTarget.Latest, true);
  return statements.flatMap((one) => {
    if (!ts.isImportDeclaration(one) && !ts.isExportDeclaration(one)) return [];
    return one.moduleSpecifier !== undefined && !isForTypes(one) ? [one.moduleSpecifier.getText().slice(1, -1)] : [];
  });
}

function isForTypes(one: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isImportDeclaration(one)) {
    const { importClause } = one;
    const named = importClause?.name === undefined ? importClause?.namedBindings : undefined;
    return importClause?.isTypeOnly === true || (named !== undefined && areTypes(named));
  }
  return one.isTypeOnly || (one.exportClause !== undefined && areTypes(one.exportClause));
}

function areTypes(names: ts.NamedImportBindings | ts.NamedExportBindings): boolean {
  if (!ts.isNamedImports(names) && !ts.isNamedExports(names)) return false;
  return names.elements.every((element: ts.ImportSpecifier | ts.ExportSpecifier) => element.isTypeOnly);
}

function nestLoadedBy(door: string, sources: readonly Source[]): string[] {
  const loaded = new Set([door]);
  const found: string[] = [];
  for (const path of loaded) {
    const source = sources.find((one) => one.path === path);
    for (const specifier of source === undefined ? [] : loadedBy(source.text)) {
      const target = source?.imports.find((one) => one.specifier === specifier)?.target;
      if (target !== undefined) loaded.add(target);
      else if (NEST.test(specifier)) found.push(`${door} loads ${specifier} by ${path}`);
    }
  }
  return found;
}

/** What is an address, and what can OpenSSL use? Node answers both beside its sockets. */
const ASKS_WITHOUT_SOCKETS = new Set(['certificates/certificate-names.ts', 'certificates/certificate-draft.ts']);

const NEST = /^(@nestjs\/|rxjs(\/|$)|reflect-metadata$)/;

const rules: readonly Rule[] = [
  {
    title: 'keeps every file in a room of the house',
    check: (sources) =>
      sources.filter(({ path }) => floorOf(path) === undefined).map(({ path }) => `${path} has no room`),
    offender: { 'utils/text.ts': '', 'node/node.ts': '' },
    verdict: ['utils/text.ts has no room'],
  },
  {
    title: 'imports downwards only, and nothing from outside lib/',
    check: eachImport(({ path }, { target }) => {
      if (target === undefined || roomOf(path) === roomOf(target)) return false;
      return target.startsWith('..') || (floorOf(target) ?? DOORS) > (floorOf(path) ?? DOORS);
    }),
    offender: {
      'driver/wire.ts': `import { head } from '../protocol/frame.js';\nimport type { Open } from '../connection/open.js';`,
      'node/node.ts': `export { twoNodes } from '../../test/support/nodes.js';\nconst all = import('../index.js');`,
    },
    verdict: [
      'driver/wire.ts:2 imports ../connection/open.js',
      'node/node.ts:1 imports ../../test/support/nodes.js',
      'node/node.ts:2 imports ../index.js',
    ],
  },
  {
    title: 'keeps the rooms of one floor apart',
    check: eachImport(
      ({ path }, { target }) =>
        target !== undefined && roomOf(path) !== roomOf(target) && floorOf(path) === floorOf(target),
    ),
    offender: {
      'client/session.ts': `import { a } from './backoff.js';\nimport {\n  invoke,\n} from '../server/invoker.js';`,
      'core.ts': `export { Node } from './index.js';`,
    },
    verdict: ['client/session.ts:4 imports ../server/invoker.js', 'core.ts:1 imports ./index.js'],
  },
  {
    title: 'lets nobody import an index',
    check: eachImport((_, { target }) => target !== undefined && /(^|\/)(index\.ts|\.{0,2})$/.test(target)),
    offender: { 'nest/nest.ts': `import { a } from '../node/index.js';\nimport { b } from '..';` },
    verdict: ['nest/nest.ts:1 imports ../node/index.js', 'nest/nest.ts:2 imports ..'],
  },
  {
    title: 'keeps guests ignorant of conversations',
    check: eachImport(
      ({ path }, { target }) => /^(nest|cli)\//.test(path) && target !== undefined && roomOf(target) === 'connection',
    ),
    offender: { 'nest/gen-rpc.client.ts': `import { Connection } from '../connection/connection.js';` },
    verdict: ['nest/gen-rpc.client.ts:1 imports ../connection/connection.js'],
  },
  {
    title: 'knows sockets in driver/ only',
    check: eachImport(
      ({ path }, to) =>
        /^(node:)?(net|tls)$/.test(to.specifier) && roomOf(path) !== 'driver' && !ASKS_WITHOUT_SOCKETS.has(path),
    ),
    offender: {
      'driver/tcp.ts': `import net from 'node:net';`,
      'certificates/certificate-names.ts': `import { isIP } from 'node:net';`,
      'certificates/chain.ts': `import { TLSSocket } from 'node:tls';`,
      'client/dial.ts': `import { connect } from 'node:tls';`,
    },
    verdict: ['certificates/chain.ts:1 imports node:tls', 'client/dial.ts:1 imports node:tls'],
  },
  {
    title: 'knows Nest and RxJS in nest/, testing/ and index.ts only',
    check: eachImport(
      ({ path }, to) =>
        NEST.test(to.specifier) &&
        !['nest', 'testing', 'index.ts'].includes(roomOf(path)) &&
        // What writes certificates needs it too, and is loaded only by whoever makes some.
        !(to.specifier === 'reflect-metadata' && path === 'authority/x509.ts'),
    ),
    offender: {
      'nest/module.ts': `import { Module } from '@nestjs/common';`,
      'node/node.ts': `import type { Observable } from 'rxjs';\nimport { map } from 'rxjs/operators';`,
    },
    verdict: ['node/node.ts:1 imports rxjs', 'node/node.ts:2 imports rxjs/operators'],
  },
  {
    title: 'loads core.ts and testing.ts without Nest and RxJS',
    check: (sources) => ['core.ts', 'testing.ts'].flatMap((door) => nestLoadedBy(door, sources)),
    offender: {
      'core.ts': `export { Node } from './node/node.js';\nexport type { Server } from './nest/server.js';`,
      'testing.ts': `export { create } from './testing/create.js';`,
      'testing/create.ts': [
        `import type { App } from '@nestjs/common';`,
        `import { type Type } from '@nestjs/core';`,
        `import { options, type Options } from './options.js';`,
        `export const create = () => import('./running.js');`,
      ].join('\n'),
      'testing/options.ts': `import 'rxjs';`,
      'testing/running.ts': `import { Test } from '@nestjs/testing';`,
      'node/node.ts': `import { map } from 'rxjs';`,
      'nest/server.ts': `import { Server } from '@nestjs/microservices';`,
    },
    verdict: ['core.ts loads rxjs by node/node.ts', 'testing.ts loads rxjs by testing/options.ts'],
  },
  {
    title: 'makes certificates for tests and the command line only, which alone need what writes them',
    check: eachImport(({ path }, { specifier, target }) => {
      const isMaker = roomOf(path) === 'authority';
      if (specifier === '@peculiar/x509') return !isMaker;
      if (target === undefined || roomOf(target) !== 'authority') return false;
      return !isMaker && !['testing.ts', 'testing', 'cli'].includes(roomOf(path));
    }),
    offender: {
      'authority/x509.ts': `const library = import('@peculiar/x509');`,
      'authority/authority.ts': `import { load } from './x509.js';`,
      'testing.ts': `export { Authority } from './authority/authority.js';`,
      'cli/certs.ts': `import { Authority } from '../authority/authority.js';`,
      'certificates/chain.ts': `import { X509Certificate } from '@peculiar/x509';`,
      'node/node.ts': `import type { Authority } from '../authority/authority.js';`,
    },
    verdict: ['certificates/chain.ts:1 imports @peculiar/x509', 'node/node.ts:1 imports ../authority/authority.js'],
  },
  {
    title: 'knows OpenTelemetry in opentelemetry/ only, which knows nothing but the port for it',
    check: eachImport(({ path }, { specifier, target }) => {
      const isItsRoom = roomOf(path) === 'opentelemetry';
      const isItsDoor = path === 'opentelemetry.ts';
      if (specifier.startsWith('@opentelemetry/')) return !isItsRoom;
      if (target === undefined) return isItsRoom;
      if (isItsRoom) return !['opentelemetry/', 'ports/tracing.ts'].some((known) => target.startsWith(known));
      return roomOf(target) === 'opentelemetry' && !isItsDoor;
    }),
    offender: {
      'opentelemetry.ts': `export { spans } from './opentelemetry/spans.js';`,
      'opentelemetry/spans.ts': [
        `import { trace } from '@opentelemetry/api';`,
        `import type { Tracing } from '../ports/tracing.js';`,
        `import { hostOf } from '../protocol/node-name.js';`,
      ].join('\n'),
      'server/invoker.ts': `import { context } from '@opentelemetry/api';`,
      'core.ts': `export { spans } from './opentelemetry/spans.js';`,
    },
    verdict: [
      'opentelemetry/spans.ts:3 imports ../protocol/node-name.js',
      'server/invoker.ts:1 imports @opentelemetry/api',
      'core.ts:1 imports ./opentelemetry/spans.js',
    ],
  },
  {
    title: 'takes time and chance from ports, except where they are implemented',
    check: eachNode(ambientUse, ownsTime),
    offender: {
      'system/system.ts': 'export const now = () => performance.now();',
      'client/session.ts': [
        `import { randomBytes } from 'node:crypto';`,
        '// setTimeout(run, 5) in a comment, "Date.now()" in a string',
        'const at = clock.setTimeout(run, 5);',
        'globalThis.setTimeout(run, 5);',
        'const now = options.now ?? Date.now;',
        'const id = randomBytes(8), today = new Date(), later = { setImmediate };',
      ].join('\n'),
    },
    verdict: [
      'client/session.ts:4 uses setTimeout',
      'client/session.ts:5 uses Date.now',
      'client/session.ts:6 uses randomBytes',
      'client/session.ts:6 uses new Date()',
      'client/session.ts:6 uses setImmediate',
    ],
  },
  {
    title: 'has no import cycle',
    check: cyclesOf,
    offender: {
      'node/a.ts': `import { b } from './b.js';`,
      'node/b.ts': `import type { c } from './c.js';`,
      'node/c.ts': `export { a } from './a.js';`,
      'node/d.ts': `import { a } from './a.js';`,
    },
    verdict: ['node/a.ts → node/b.ts → node/c.ts → node/a.ts'],
  },
  {
    title: 'names every export of a door, and has no barrels below',
    check: eachNode((node) =>
      ts.isExportDeclaration(node) && !(node.exportClause && ts.isNamedExports(node.exportClause))
        ? 'exports *'
        : undefined,
    ),
    offender: { 'index.ts': `export { a } from './node/a.js';\nexport * from './node/b.js';` },
    verdict: ['index.ts:2 exports *'],
  },
  {
    title: 'has no file above 300 lines',
    check: (sources) =>
      sources
        .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
        .filter(({ lines }) => lines > 300)
        .map(({ path, lines }) => `${path} has ${lines} lines`),
    offender: { 'node/short.ts': 'a\n'.repeat(300), 'node/long.ts': 'a\n'.repeat(301) },
    verdict: ['node/long.ts has 301 lines'],
  },
];

describe('the library', () => {
  const lib = read('lib');
  for (const { title, check } of rules) it(title, () => expect(check(lib)).toEqual([]));
});

describe('the benchmarks', () => {
  it('have no import cycle', () => expect(cyclesOf(read('bench'))).toEqual([]));
});

describe('the checker sees an offender of the rule that the library', () => {
  for (const { title, check, offender, verdict } of rules) {
    it(title, () =>
      expect(check(Object.entries(offender).map(([path, text]) => sourceOf(path, text)))).toEqual(verdict),
    );
  }
});
