type Json = { readonly [key: string]: unknown };
type Check = (rule: unknown, value: unknown, schema: Json) => boolean;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const entries = (value: unknown): [string, unknown][] => (isObject(value) ? Object.entries(value) : []);
const count = (rule: unknown, value: unknown): number =>
  (rule as Json[]).filter((schema) => validJson(schema, value)).length;

const kinds: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};

// JSON Schema draft-7, section by section: https://json-schema.org/draft-07/json-schema-validation
const checks: Readonly<Record<string, Check>> = {
  type: (rule, value) => [rule].flat().some((name) => kinds[String(name)]!(value)),
  const: (rule, value) => rule === value,
  enum: (rule, value) => (rule as unknown[]).includes(value),
  minimum: (rule, value) => typeof value !== 'number' || value >= Number(rule),
  maximum: (rule, value) => typeof value !== 'number' || value <= Number(rule),
  exclusiveMinimum: (rule, value) => typeof value !== 'number' || value > Number(rule),
  exclusiveMaximum: (rule, value) => typeof value !== 'number' || value < Number(rule),
  minLength: (rule, value) => typeof value !== 'string' || value.length >= Number(rule),
  pattern: (rule, value) => typeof value !== 'string' || new RegExp(String(rule)).test(value),
  minItems: (rule, value) => !Array.isArray(value) || value.length >= Number(rule),
  maxItems: (rule, value) => !Array.isArray(value) || value.length <= Number(rule),
  items: (rule, value, { additionalItems }) =>
    !Array.isArray(value) ||
    value.every((item: unknown, i) =>
      validJson(Array.isArray(rule) ? ((rule[i] as Json | undefined) ?? additionalItems ?? true) : rule, item),
    ),
  additionalItems: () => true,
  required: (rule, value) => !isObject(value) || (rule as string[]).every((key) => Object.hasOwn(value, key)),
  properties: (rule, value) =>
    entries(value).every(([key, item]) => !Object.hasOwn(rule as Json, key) || validJson((rule as Json)[key], item)),
  additionalProperties: (rule, value, { properties = {} }) =>
    entries(value).every(([key, item]) => Object.hasOwn(properties as Json, key) || validJson(rule, item)),
  propertyNames: (rule, value) => entries(value).every(([key]) => validJson(rule, key)),
  anyOf: (rule, value) => count(rule, value) > 0,
  oneOf: (rule, value) => count(rule, value) === 1,
  allOf: (rule, value) => count(rule, value) === (rule as Json[]).length,
};
const silent = new Set(['$schema', 'title', 'description', 'default', 'examples', 'format', 'definitions']);

/** Whether plain data is valid by a JSON Schema (draft-7 without references). A keyword it does not know is an error. */
export function validJson(schema: unknown, value: unknown): boolean {
  if (typeof schema === 'boolean') return schema;
  return Object.entries(schema as Json).every(([keyword, rule]) => {
    if (silent.has(keyword)) return true;
    const check = checks[keyword];
    if (check === undefined) throw new Error(`JSON Schema keyword ${keyword} is not handled here`);
    return check(rule, value, schema as Json);
  });
}
