// Makes Allure's report of the results in a folder, with the verdict of its quality gate in it, which `allure generate`
// leaves out. Says on its last line, as JSON, what the gate found: [{rule, success, message}, ...].
//
// node report.mjs CORE CONFIG RESULTS: the file of the package @allurereport/core, the configuration, the folder
import { dirname } from "node:path";
import { argv } from "node:process";
import { pathToFileURL } from "node:url";

// The gate of Allure 3.18 calls a method of iterators that Node.js has from version 22 on; Debian 12 has 18.
const iterators = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
iterators.toArray ??= function () {
  return [...this];
};

const [core, config, results] = argv.slice(2);
const { AllureReport, readConfig } = await import(pathToFileURL(core));

const report = new AllureReport(await readConfig(dirname(config), config));
await report.start();
await report.readDirectory(results);
const trs = await report.store.allTestResults({ includeRetries: false });
const gate = await report.validate({ trs });
report.realtimeDispatcher.sendQualityGateResults(gate.results);
await report.done();

const uncoloured = (text) => text.replace(/\x1b\[\d+m/g, "");
console.log(JSON.stringify(gate.results.map(({ rule, success, message }) => ({ rule, success, message: uncoloured(message) }))));
