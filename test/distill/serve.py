"""Serves a model by OpenAI's chat completions, one request at a time: python serve.py FOLDER. Prints its port."""
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()


class Handler(BaseHTTPRequestHandler):
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"data": [{"id": "student"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = tokenizer.apply_chat_template(asked["messages"], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            made = model.generate(ids, max_new_tokens=min(asked.get("max_tokens", 64), 64), do_sample=False, pad_token_id=0)
        said = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        usage = {"prompt_tokens": ids.shape[1], "completion_tokens": made.shape[1] - ids.shape[1]}
        message = {"role": "assistant", "content": said or "nothing"}
        self.answer({"model": "student", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
