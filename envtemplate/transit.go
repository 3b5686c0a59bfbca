package envtemplate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/envexec/envexec/secret"
)

// maxBatch bounds one decryption request.
const maxBatch = 500

// batch sends all encrypted values through transit's decrypt in as few requests as
// possible: each reference learns its request and its place there.
func (t Transit) batch(refs []*Reference) error {
	if len(refs) == 0 {
		return nil
	}
	if t.Key == "" {
		return errors.New("value is encrypted by transit, but no key is named: --transit-key NAME")
	}
	mount := t.Mount
	if mount == "" {
		mount = "transit"
	}
	places := map[string]int{}
	var texts []string
	for _, ref := range refs {
		if _, seen := places[ref.cipher]; !seen {
			places[ref.cipher] = len(texts)
			texts = append(texts, ref.cipher)
		}
	}
	var requests []secret.Request
	for from := 0; from < len(texts); from += maxBatch {
		var inputs []any
		for _, text := range texts[from:min(from+maxBatch, len(texts))] {
			inputs = append(inputs, map[string]any{"ciphertext": text})
		}
		requests = append(requests, secret.Request{
			Op: secret.Write, Path: mount + "/decrypt/" + t.Key, Body: map[string]any{
				"batch_input":                   inputs,
				"partial_failure_response_code": http.StatusOK, // one text that cannot be decrypted is that one's problem
			},
		})
	}
	for _, ref := range refs {
		place := places[ref.cipher]
		ref.Request, ref.index = requests[place/maxBatch], place%maxBatch
	}
	return nil
}

// decrypted returns ref's plain text out of its batch.
func decrypted(ref Reference, get getter) (string, bool, error) {
	s, err := get(ref.Request)
	if err != nil {
		return "", false, err
	}
	results, _ := s.Data["batch_results"].([]any)
	if ref.index >= len(results) {
		return "", false, fmt.Errorf("%s: answer lacks a result", ref.Request)
	}
	item, _ := results[ref.index].(map[string]any)
	if _, failed := item["error"].(string); failed {
		return "", false, fmt.Errorf("%s: text cannot be decrypted", ref.Request)
	}
	coded, _ := item["plaintext"].(string)
	plain, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return "", false, fmt.Errorf("%s: plaintext is not base64", ref.Request)
	}
	return string(plain), true, nil
}
