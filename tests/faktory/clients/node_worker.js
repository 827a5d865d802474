// A faktory-worker from npm that stays: it writes a line for each job that it has run, and goes on by itself when its server was away.
const fs = require("fs");
process.env.FAKTORY_URL = `tcp://${process.argv[2]}`;
const faktory = require("faktory-worker");
faktory.register("record", async (text) => fs.writeSync(1, `${text}\n`));
// What goes wrong with a connection is told here, and is no reason to end.
process.on("unhandledRejection", (error) => console.error(`${error}`));
process.on("uncaughtException", (error) => console.error(`${error}`));
faktory.work({ concurrency: 2, queues: ["default"] }).catch((error) => { console.error(error); process.exit(1); });
