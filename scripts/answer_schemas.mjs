// Writes configs/schemas/<name>.schema.json: what each command prints with --json, from the types in src/cli/answers.ts.
// With an argument: into that folder instead.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  LiteralType,
  SchemaGenerator,
  UnionType,
  createFormatter,
  createParser,
  createProgram,
} from 'ts-json-schema-generator';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = process.argv[2] ?? join(root, 'configs', 'schemas');

const config = {
  path: join(root, 'src/cli/answers.ts'),
  tsconfig: join(root, 'tsconfig.json'),
  type: 'Answers',
  expose: 'export',
  // A later version may add keys.
  additionalProperties: true,
  skipTypeCheck: true,
  topRef: false,
  jsDoc: 'extended',
};

const program = createProgram(config);
/** `keyof typeof table`: the checker knows the keys, where the generator would read the values of the table. */
const keysOfTable = {
  supportsNode: (node) => ts.isTypeOperatorNode(node) && ts.isTypeQueryNode(node.type),
  createType(node) {
    const keys = program.getTypeChecker().getTypeAtLocation(node);
    return new UnionType((keys.types ?? [keys]).map(({ value }) => new LiteralType(value)));
  },
};
const parser = createParser(program, config, (chain) => chain.addNodeParser(keysOfTable));
const all = new SchemaGenerator(program, parser, createFormatter(config), config).createSchema('Answers');

/** Names of what is counted, alone or in lists, and so always whole; whatever else is a number may be infinite or none. */
const counts = new Set(
  'format bytes floatBytes samples batch index epoch parameters params macs opset ir gzip brotli threads dims shape counts stages opsets ops'.split(' '), // prettier-ignore
);

const numberSchema = {
  description: 'A number; the words are for those that JSON cannot say.',
  anyOf: [{ type: 'number' }, { enum: ['Infinity', '-Infinity', 'NaN'] }],
};

/** A number as it stands in JSON under a key. */
const numberOf = (key) => (counts.has(key) ? { type: 'integer' } : { $ref: '#/definitions/Number' });

/** The schema as it holds for JSON: `undefined` in a list is null there, numbers that are not finite are words. Shares of counts are not whole. */
function plain(schema, key, whole = true) {
  if (Array.isArray(schema)) return schema.map((one) => plain(one, key, whole));
  if (schema === null || typeof schema !== 'object') return schema;
  if (schema.not && Object.keys(schema.not).length === 0) return { type: 'null' };
  const { type, ...rest } = schema;
  if (type === 'number' && !('const' in rest) && !('enum' in rest)) return { ...rest, ...numberOf(whole ? key : '') };
  if (Array.isArray(type) && type.includes('number') && !('enum' in rest))
    return {
      ...rest,
      anyOf: [numberOf(whole ? key : ''), ...type.filter((one) => one !== 'number').map((one) => ({ type: one }))],
    };
  const held = Object.entries(schema).map(([name, value]) => {
    if (name === 'properties')
      return [name, Object.fromEntries(Object.entries(value).map(([own, one]) => [own, plain(one, own, whole)]))];
    return [name, ['enum', 'const', 'required'].includes(name) ? value : plain(value, key, whole)];
  });
  const object = Object.fromEntries(held);
  // What may be anything may be undefined, which JSON leaves out.
  const known = (name) => Object.keys(object.properties?.[name] ?? {}).some((word) => word !== 'description');
  return object.required === undefined ? object : { ...object, required: object.required.filter(known) };
}

/** The definitions that a schema refers to, and those that these refer to. */
function reached(schema, found = {}) {
  for (const [, name] of JSON.stringify(schema).matchAll(/"#\/definitions\/([^"]+)"/g)) {
    const key = decodeURIComponent(name);
    if (found[key] !== undefined) continue;
    found[key] = key === 'Number' ? numberSchema : plain(all.definitions[key], undefined, !key.endsWith('Shares'));
    reached(found[key], found);
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)));
}

await mkdir(folder, { recursive: true });
for (const [name, answer] of Object.entries(all.properties)) {
  const { description, ...own } = plain(answer);
  const definitions = reached(own);
  // The answer's own type stands at the top: what is beside a $ref counts for nothing in this draft.
  const [, top] = /^#\/definitions\/(.*)$/.exec(own.$ref ?? '') ?? [];
  const schema = top === undefined ? own : definitions[top];
  if (top !== undefined) delete definitions[top];
  const head = { $schema: 'http://json-schema.org/draft-07/schema#', $id: `${name}.schema.json`, title: description };
  const text = JSON.stringify({ ...head, ...schema, definitions }, null, 2);
  await writeFile(join(folder, `${name}.schema.json`), `${text}\n`);
}
console.log(`wrote ${folder}`);
