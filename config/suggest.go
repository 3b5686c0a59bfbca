package config

import (
	"fmt"
	"strings"
)

// nearest returns the candidate that word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 1+max(1, len(word)/3)
	if len(word) > 64 {
		return ""
	}
	word = strings.ToLower(word)
	for _, c := range candidates {
		if len(c)-len(word) > bestDistance || len(word)-len(c) > bestDistance {
			continue
		}
		if d := distance(word, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		best = sameStart(word, candidates)
	}
	return best
}

// sameStart finds the candidate of which word is a long or short form: role_id_file for
// role_id_file_path, permissions for perms.
func sameStart(word string, candidates []string) string {
	best, longest := "", 3
	for _, c := range candidates {
		n := 0
		for n < len(word) && n < len(c) && word[n] == c[n] {
			n++
		}
		if n > longest && 5*n >= 4*min(len(word), len(c)) {
			best, longest = c, n
		}
	}
	return best
}

// didYouMean is the hint for an unknown word, "" when nothing is near.
func didYouMean(word string, candidates []string) string {
	if c := nearest(word, candidates); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	return ""
}

// distance counts insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
