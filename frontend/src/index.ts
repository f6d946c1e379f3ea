import { start } from "./pane/page";

start();
