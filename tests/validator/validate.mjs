// Reads a GLB from the file named first and prints the Khronos validator's report as JSON.
// The module is looked up beside this file (`npm ci --prefix tests/validator`), then in the folders above.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
let validator;
try {
  validator = require("gltf-validator");
} catch {
  console.error("gltf-validator is not installed");
  process.exit(3);
}
const bytes = new Uint8Array(readFileSync(process.argv[2]));
const report = await validator.validateBytes(bytes, { uri: "head.glb", maxIssues: 200 });
console.log(JSON.stringify(report.issues));
