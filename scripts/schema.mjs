// Writes configs/schedule.schema.json from the passes' options. `npm run schema` builds first.
import { writeFile } from 'node:fs/promises';
import { passes } from '../dist/passes/index.js';
import { scheduleJsonSchema } from '../dist/schedule/json_schema.js';

const file = new URL('../configs/schedule.schema.json', import.meta.url);
await writeFile(file, `${JSON.stringify(scheduleJsonSchema(passes), null, 2)}\n`);
console.log(`wrote ${file.pathname}`);
