// Turns the ES modules among the dependencies into CommonJS, as ts-jest or babel-jest would.
const ts = require('typescript');

const compilerOptions = { allowJs: true, module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
const moduleUrl = "require('node:url').pathToFileURL(__filename).href";

exports.process = (text, fileName) => {
  if (!/^(import|export)\b/m.test(text)) return { code: text };
  const source = text.replaceAll('import.meta.url', moduleUrl);
  return { code: ts.transpileModule(source, { fileName, compilerOptions }).outputText };
};
