//go:build entry && go1.26 && !go1.27

#include "textflag.h"
#include "go_asm.h"

// The bits of HUP, INT, QUIT and TERM. The stack is the kernel's and stays as it is.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	MOVD $runtime·sig+const_wantedAt(SB), R1
	MOVWU (R1), R2
	MOVD $(1<<1 | 1<<2 | 1<<3 | 1<<15), R3
	ORR R3, R2, R2
	MOVW R2, (R1)
	B   _rt0_arm64_linux(SB)
