// @ts-check
/** Starts the modules. Every page works without them; they make it live and quick. */
import { start as startActions } from "./actions.js";
import { start as startKeys } from "./keys.js";
import { start as startLive } from "./live.js";
import { start as startTable } from "./table.js";
import { start as startTheme } from "./theme.js";
import { start as startTimes } from "./time.js";

document.documentElement.classList.add("js");
startTheme();
startTimes();
startActions();
startTable();
startKeys();
startLive();
