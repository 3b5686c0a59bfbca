//go:build entry && go1.26 && !go1.27

#include "textflag.h"
#include "go_asm.h"

// The bits of HUP, INT, QUIT and TERM. The stack is the kernel's and stays as it is.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	ORL $(1<<1 | 1<<2 | 1<<3 | 1<<15), runtime·sig+const_wantedAt(SB)
	JMP _rt0_amd64_linux(SB)
