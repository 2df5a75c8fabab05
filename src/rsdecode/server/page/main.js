// @ts-check
import { App } from "./app.js";
import { offerThemes } from "./theme.js";

offerThemes();
new App().start();
