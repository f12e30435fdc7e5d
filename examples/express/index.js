// An Express app, unchanged, as a function: serverless-http makes requests of events and answers of responses.
"use strict";

const express = require("express");
const serverless = require("serverless-http");

const app = express();
const notes = new Map();

app.use(express.json());
app.get("/", (request, response) => response.type("text").send(`hello ${request.query.name ?? "world"}\n`));
app.get("/notes/:id", (request, response) => {
  const note = notes.get(request.params.id);
  if (note === undefined) response.status(404).json({ message: "no such note" });
  else response.json(note);
});
// An environment's memory is no store: another environment, or this one's successor, knows nothing of it.
app.put("/notes/:id", (request, response) => {
  notes.set(request.params.id, request.body);
  response.cookie("last", request.params.id).status(201).json({ stored: request.params.id });
});
app.get("/pixel", (_request, response) => {
  const gif = "R0lGODlhAQABAAAAACw=";
  response.type("gif").send(Buffer.from(gif, "base64"));
});

module.exports.handler = serverless(app, { binary: ["image/*"] });
