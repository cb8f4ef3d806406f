/** Reads the pages in docs/: their tables, their code, their links. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

export class Page {
  private constructor(
    readonly path: string,
    readonly text: string,
  ) {}

  static async read(path: string): Promise<Page> {
    return new Page(path, await readFile(join(ROOT, path), 'utf8'));
  }

  /** What stands under a heading, up to the next one that is as high. */
  section(heading: string): string {
    const level = /^#+/.exec(heading)?.[0] ?? '';
    const [, rest] = this.text.split(`\n${heading}\n`);
    if (rest === undefined) throw new Error(`${this.path} has no ${heading}.`);
    return rest.split(new RegExp(`\n#{1,${level.length}} `))[0] ?? '';
  }

  snippets(language: string): string[] {
    const found = [...this.text.matchAll(/^```(\S+).*\n([^]*?)^```$/gm)];
    return found.filter(([, one]) => one === language).map(([, , code = '']) => code);
  }

  /** The code behind a sentence that names its file. */
  file(name: string): string {
    const code = new RegExp(`\`${name}\`:\n\n\`\`\`ts\n([^]*?)\`\`\``).exec(this.text)?.[1];
    if (code === undefined) throw new Error(`${this.path} shows no ${name}.`);
    return code;
  }

  /** To other files of the project, without what stands behind `#`. */
  links(): string[] {
    const links = [...this.text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, to = '']) => to);
    return links.filter((to) => !/^[a-z]+:/.test(to));
  }

  anchors(): string[] {
    return [...this.text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => {
      return title
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-');
    });
  }
}

/** The cells of every table row, heads and rules left out. */
export function rowsOf(text: string): string[][] {
  const lines = text.split('\n');
  const isRow = (line = ''): boolean => line.startsWith('|');
  const isRule = (line = ''): boolean => /^\|[-|: ]+\|$/.test(line);
  return lines
    .filter((line, at) => isRow(line) && !isRule(line) && !isRule(lines[at + 1]))
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
}

/** The names in backticks. */
export function namesIn(cell = ''): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}
